// In place of: upstream backend { ip_hash; server server1:3000; server server2:3000; }
const { apps, listen, address } = require('./common');

module.exports = {
  apps,
  upstreams: [{ name: 'backend', balance: 'ip_hash', servers: [0, 1].map(address) }],
  balancers: [{ name: 'web', listen, upstream: 'backend' }],
};
