'use strict';
// A small HTTP API without dependencies. It knows nothing of rpm: no signal handling, no "ready" message, and it
// listens on its port like any program. In cluster mode all instances share that port.

const http = require('http');

const port = Number(process.env.PORT) || 8000;
const instance = Number(process.env.NODE_APP_INSTANCE) || 0;

const routes = {
  '/': (url, answer) => answer(200, { pid: process.pid, instance }),
  '/health': (url, answer) => answer(200, { status: 'healthy', pid: process.pid, uptime: process.uptime() }),
  // Answers after a while: GET /slow?ms=500. What is in flight when a worker is replaced is finished first.
  '/slow': (url, answer) => {
    const ms = Math.min(Number(url.searchParams.get('ms')) || 1000, 60000);
    setTimeout(() => answer(200, { pid: process.pid, instance, ms }), ms);
  },
};

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost');
  const answer = (status, body) => {
    const text = JSON.stringify(body) + '\n';
    response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) });
    response.end(text);
  };
  if (request.method !== 'GET' && request.method !== 'HEAD') return answer(405, { error: 'only GET is answered here' });
  const route = routes[url.pathname];
  if (!route) return answer(404, { error: `there is no ${url.pathname}` });
  route(url, answer);
});

server.listen(port, () => console.log(`worker ${process.pid} (instance ${instance}) listens on port ${port}`));
