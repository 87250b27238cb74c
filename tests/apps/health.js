// An HTTP server whose health is decided by files in CONTROL: `ill.PID` or `ill.VERSION` makes /health answer 500,
// `hang.PID` makes the next request the last that is looked at. FAIL: how many percent of the other requests fail; BOOT,
// ENDS: milliseconds until it listens, and until it ends.
const fs = require('fs');
const http = require('http');
const path = require('path');
const { BOOT, CONTROL, ENDS, FAIL, SLOW, PORT, VERSION } = process.env;
const is = (what) => fs.existsSync(path.join(CONTROL, what));
let count = 0;
const server = http.createServer((req, res) => {
  if (is(`hang.${process.pid}`)) for (;;);
  if (req.url === '/health') {
    const ill = is(`ill.${process.pid}`) || is(`ill.${VERSION}`);
    res.statusCode = ill ? 500 : 200;
    return res.end(ill ? 'ill' : `healthy ${VERSION}`);
  }
  count += 1;
  if (Math.floor(count * Number(FAIL || 0) / 100) > Math.floor((count - 1) * Number(FAIL || 0) / 100)) res.statusCode = 500;
  setTimeout(() => res.end(JSON.stringify({ pid: process.pid, version: VERSION })), Number(SLOW || 0));
});
setTimeout(() => server.listen(Number(PORT)), Number(BOOT || 0));
if (ENDS) setTimeout(() => process.exit(9), Number(ENDS));
