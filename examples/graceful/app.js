// Graceful shutdown: no new connections, the requests in flight are answered, the database is closed, then the end.
const express = require('express');
const app = express();
let server;

const database = { close: async () => console.log('database closed') };

app.get('/', (req, res) => setTimeout(() => res.json({ pid: process.pid }), Number(req.query.slow || 0)));

async function startServer() {
  server = app.listen(Number(process.env.PORT || 3000), () => console.log('Server started'));
}

async function gracefulShutdown() {
  console.log('Shutting down gracefully...');
  await new Promise((resolve) => {
    server.close(() => {
      console.log('HTTP server closed');
      resolve();
    });
    server.closeIdleConnections();
  });
  await database.close();
  process.exit(0);
}

process.on('SIGTERM', gracefulShutdown);
process.on('SIGINT', gracefulShutdown);

startServer();
