// Node's own cluster module, as the textbooks have it: the primary forks one worker per core and replaces the dead.
// It runs under rpm as one ordinary process (`rpm start server.js`); in cluster mode rpm does the primary's part,
// and a program is written without one, as in ../api.
const cluster = require('cluster');
const http = require('http');
const numCPUs = require('os').cpus().length;

if (cluster.isMaster) {
  console.log(`Master ${process.pid} is running`);

  // Fork workers
  for (let i = 0; i < numCPUs; i++) {
    cluster.fork();
  }

  cluster.on('exit', (worker, code, signal) => {
    console.log(`Worker ${worker.process.pid} died`);
    cluster.fork(); // Replace dead worker
  });
} else {
  http.createServer((req, res) => {
    res.writeHead(200);
    res.end(`Handled by worker ${process.pid}\n`);
  }).listen(process.env.PORT || 8000);

  console.log(`Worker ${process.pid} started`);
}
