// In place of: global maxconn 4096; defaults mode http, timeout connect 5000ms, client 50000ms, server 50000ms;
// frontend http-in bind *:80; backend nodejs_servers balance roundrobin, option httpchk GET /health, server node1 … check
const { apps, listen, address } = require('./common');

module.exports = {
  apps,
  upstreams: [{
    name: 'nodejs_servers',
    balance: 'round_robin',
    health_check: { path: '/health', interval: '2s', rise: 2, fall: 3 },
    servers: [0, 1, 2, 3].map((index) => ({ name: `node${index + 1}`, address: address(index) })),
  }],
  balancers: [{
    name: 'http-in', mode: 'http', listen, maxconn: 4096, upstream: 'nodejs_servers',
    timeout_connect: 5000, timeout_client: 50000, timeout_server: 50000,
  }],
};
