// rpm start ecosystem.config.js   (npm install http-proxy first)
const { apps } = require('../load-balancer/common');

module.exports = { apps: [...apps, { name: 'round-robin', script: './server.js', cwd: __dirname }] };
