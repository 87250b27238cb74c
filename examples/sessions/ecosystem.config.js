// Four workers, one session: rpm start ecosystem.config.js
// (apt install redis-server; npm install express express-session connect-redis redis)
// STICKY=1 keeps each client with one worker, too.
const web = Number(process.env.WEB || 8080);
const redis = Number(process.env.REDIS_PORT || 6379);

module.exports = {
  apps: [
    { name: 'redis', script: 'redis-server', args: `--bind 127.0.0.1 --port ${redis} --save "" --appendonly no`, cwd: __dirname },
    {
      name: 'shop', script: './app.js', cwd: __dirname, instances: 4, exec_mode: 'cluster',
      env: { PORT: Number(process.env.PORT || 3000), REDIS_PORT: redis },
    },
  ],
  upstreams: [{ name: 'shop', servers: [{ app: 'shop' }], ...(process.env.STICKY ? { sticky: { cookie: 'RPMSRV' } } : {}) }],
  balancers: [{ name: 'web', listen: `127.0.0.1:${web}`, upstream: 'shop' }],
};
