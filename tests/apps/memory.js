// Serves, and grows when told to.
const http = require('http');
const held = [];
http.createServer((req, res) => {
  if (req.url === '/grow') held.push(Buffer.alloc(150 * 1024 * 1024, 1));
  res.end(String(process.pid));
}).listen(Number(process.env.PORT));
