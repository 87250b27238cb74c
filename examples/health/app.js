// A /health endpoint that looks at what the app needs: its database, Redis, its memory. The balancer asks it.
const express = require('express');
const { createClient } = require('redis');

const redis = createClient({ url: `redis://127.0.0.1:${process.env.REDIS_PORT || 6379}`, disableOfflineQueue: true });
redis.on('error', () => {});
redis.connect();

// The database: SQLite, which Node brings along from version 22 on, or Redis again where it does not.
const db = (() => {
  try {
    const { DatabaseSync } = require('node:sqlite');
    const file = new DatabaseSync(process.env.DATABASE || ':memory:');
    return { ping: async () => file.prepare('select 1').get() };
  } catch {
    return { ping: async () => redis.sendCommand(['DBSIZE']) };
  }
})();

const app = express();
app.get('/', (req, res) => res.json({ pid: process.pid }));
app.get('/health', async (req, res) => {
  try {
    await db.ping();
    await redis.ping();
    const used = process.memoryUsage();
    const heapUsedPercent = (used.heapUsed / used.heapTotal) * 100;
    // The heap of a young process is nearly full by design; what counts is a big one.
    if (heapUsedPercent > 90 && used.heapTotal > 512 * 1024 * 1024) throw new Error('High memory usage');
    res.json({
      status: 'healthy',
      uptime: process.uptime(),
      memory: {
        heapUsed: `${Math.round(used.heapUsed / 1024 / 1024)}MB`,
        heapTotal: `${Math.round(used.heapTotal / 1024 / 1024)}MB`,
      },
    });
  } catch (err) {
    res.status(503).json({ status: 'unhealthy', error: err.message });
  }
});

app.listen(Number(process.env.PORT || 3000));
