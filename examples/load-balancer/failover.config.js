// In place of: upstream backend { server server1:3000 max_fails=3 fail_timeout=30s;
// server server2:3000 max_fails=3 fail_timeout=30s; server server3:3000 backup; }
const { apps, listen, address } = require('./common');

module.exports = {
  apps,
  upstreams: [{
    name: 'backend',
    servers: [
      { address: address(0), max_fails: 3, fail_timeout: '30s' },
      { address: address(1), max_fails: 3, fail_timeout: '30s' },
      { address: address(2), backup: true },
    ],
    retries: 2,
  }],
  balancers: [{ name: 'web', listen, upstream: 'backend' }],
};
