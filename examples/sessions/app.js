// Sessions that all workers share, in Redis: express-session and connect-redis.
const express = require('express');
const session = require('express-session');
const { RedisStore } = require('connect-redis');
const { createClient } = require('redis');

const redisClient = createClient({ url: `redis://127.0.0.1:${process.env.REDIS_PORT || 6379}` });
redisClient.on('error', (error) => console.error(error.message));

const app = express();
// The balancer stands before us, and says how the client came.
app.set('trust proxy', 'loopback');
app.use(session({
  store: new RedisStore({ client: redisClient }),
  secret: process.env.SESSION_SECRET || 'only for this example',
  resave: false,
  saveUninitialized: false,
  cookie: { secure: process.env.NODE_ENV === 'production', maxAge: 3600000 },
}));

app.get('/', (req, res) => {
  req.session.views = (req.session.views || 0) + 1;
  res.json({ views: req.session.views, worker: process.env.NODE_APP_INSTANCE });
});

redisClient.connect().then(() => app.listen(Number(process.env.PORT || 3000)));
