// In place of: upstream nodejs_backend { server localhost:3000; … } server { listen 80; server_name example.com;
// location / { proxy_pass http://nodejs_backend; proxy_set_header Upgrade …; proxy_set_header Host $host; } }
const { apps, listen, address } = require('./common');

module.exports = {
  apps,
  upstreams: [{ name: 'nodejs_backend', servers: [0, 1, 2, 3].map(address) }],
  // Upgrades and the Host are passed on without being told.
  balancers: [{ name: 'web', listen, upstream: 'nodejs_backend' }],
};
