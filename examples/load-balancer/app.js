// A plain server that knows nothing of a balancer: it says who answered. A WebSocket is greeted by whoever has it.
const http = require('http');

const server = http.createServer((req, res) => {
  if (req.url === '/health') return res.end('healthy\n');
  if (req.url === '/fail') process.exit(1);
  res.end(JSON.stringify({ port: process.env.PORT, pid: process.pid, host: req.headers.host }));
});

server.on('upgrade', (req, socket) => {
  // Enough of a WebSocket for an echo of what fits into one small frame; `ws` does it for real programs.
  const crypto = require('crypto');
  const key = req.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = crypto.createHash('sha1').update(key).digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  const text = Buffer.from(`hello from ${process.env.PORT}`);
  socket.write(Buffer.concat([Buffer.from([0x81, text.length]), text]));
  socket.on('error', () => {});
});

server.listen(Number(process.env.PORT), () => console.log(`listening on ${process.env.PORT}`));
