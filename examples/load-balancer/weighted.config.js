// In place of: upstream backend { server server1:3000 weight=3; server server2:3000 weight=1; }
const { apps, listen, address } = require('./common');

module.exports = {
  apps,
  upstreams: [{ name: 'backend', servers: [{ address: address(0), weight: 3 }, { address: address(1), weight: 1 }] }],
  balancers: [{ name: 'web', listen, upstream: 'backend' }],
};
