// The app of ecosystem.config.js: an ordinary server; PM2 or rpm makes a cluster of it.
const http = require('http');

http.createServer((req, res) => {
  res.writeHead(200);
  res.end(`Handled by worker ${process.pid}\n`);
}).listen(process.env.PORT || 8000);

console.log(`Worker ${process.pid} started`);
