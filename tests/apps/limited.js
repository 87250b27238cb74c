// An HTTP server that can do ABREAST requests at once, each of them in TAKES ms: the others wait for their turn. So its
// capacity is known, whatever the machine is. FAIL: how many percent of the requests fail; VERSION is in every answer.
const http = require('http');
const { ABREAST = '4', FAIL = '0', PORT, TAKES = '40', VERSION = '' } = process.env;
const waiting = [];
let running = 0, count = 0;
const next = () => {
  if (running >= Number(ABREAST) || waiting.length === 0) return;
  running += 1;
  const res = waiting.shift();
  count += 1;
  const fails = Math.floor(count * Number(FAIL) / 100) > Math.floor((count - 1) * Number(FAIL) / 100);
  setTimeout(() => {
    running -= 1;
    if (fails) res.statusCode = 500;
    res.end(JSON.stringify({ pid: process.pid, version: VERSION }));
    next();
  }, Number(TAKES));
};
http.createServer((req, res) => { waiting.push(res); next(); }).listen(/^\d+$/.test(PORT) ? Number(PORT) : PORT);
