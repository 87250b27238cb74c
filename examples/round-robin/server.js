// Application-level load balancing with http-proxy, as the textbooks have it. It runs under rpm as one ordinary app;
// examples/load-balancer does the same without a program of one's own.
const http = require('http');
const httpProxy = require('http-proxy');

const base = Number(process.env.BASE || 3000);
const servers = [0, 1, 2].map((index) => `http://localhost:${base + index}`);
let current = 0;

const proxy = httpProxy.createProxyServer({});
proxy.on('error', (error, req, res) => {
  res.writeHead(502);
  res.end(`${error.code}\n`);
});

http.createServer((req, res) => {
  proxy.web(req, res, { target: servers[current] });
  current = (current + 1) % servers.length;
}).listen(Number(process.env.WEB || 8000));
