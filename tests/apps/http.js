// A plain HTTP server: says who answered. PORT (or a path) from the environment, VERSION to tell releases apart.
const http = require('http');
const cluster = require('cluster');
http.createServer((req, res) => {
  const url = new URL(req.url, 'http://localhost');
  const answer = () => res.end(JSON.stringify({
    pid: process.pid, instance: process.env.NODE_APP_INSTANCE, worker: cluster.isWorker, version: process.env.VERSION,
  }));
  const slow = Number(url.searchParams.get('slow') || 0);
  if (url.pathname === '/exit') { answer(); setImmediate(() => process.exit(Number(url.searchParams.get('code')))); }
  else if (slow) setTimeout(answer, slow);
  else answer();
}).listen(process.env.PORT?.startsWith('/') ? process.env.PORT : Number(process.env.PORT));
