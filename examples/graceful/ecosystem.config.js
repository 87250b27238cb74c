// rpm start ecosystem.config.js   (npm install express)
const web = Number(process.env.WEB || 8080);

module.exports = {
  apps: [{ name: 'api', script: './app.js', cwd: __dirname, instances: 2, exec_mode: 'proxy', kill_timeout: '10s' }],
  upstreams: [{ name: 'api', servers: [{ app: 'api' }] }],
  balancers: [{ name: 'web', listen: `127.0.0.1:${web}`, upstream: 'api' }],
};
