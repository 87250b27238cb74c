// Says that it is ready when the file `go` is there, or after READY_AFTER.
const fs = require('fs');
const ready = () => { fs.appendFileSync('ready.said', 'ready\n'); process.send('ready'); };
if (process.env.READY_AFTER) setTimeout(ready, Number(process.env.READY_AFTER));
else if (process.env.READY_NEVER === undefined) {
  const timer = setInterval(() => { if (fs.existsSync('go')) { clearInterval(timer); ready(); } }, 20);
}
process.on('SIGINT', () => process.exit(0));
setInterval(() => {}, 1e6);
