// rpm start ecosystem.config.js   (apt install redis-server; npm install express redis)
const web = Number(process.env.WEB || 8080);
const redis = Number(process.env.REDIS_PORT || 6379);

module.exports = {
  apps: [
    { name: 'redis', script: 'redis-server', args: `--bind 127.0.0.1 --port ${redis} --save "" --appendonly no`, cwd: __dirname },
    { name: 'api', script: './app.js', cwd: __dirname, instances: 2, exec_mode: 'proxy', env: { REDIS_PORT: redis } },
  ],
  upstreams: [{
    name: 'api', servers: [{ app: 'api' }],
    health_check: { path: '/health', interval: '500ms', timeout: '400ms', rise: 1, fall: 2 },
    timeout_queue: '500ms',
  }],
  balancers: [{ name: 'web', listen: `127.0.0.1:${web}`, upstream: 'api' }],
};
