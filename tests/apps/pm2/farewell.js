// Waits on the bus until the daemon leaves.
const { call, listen, run } = require('./client');

run(async () => {
  await call('connect');
  const { until } = await listen();
  await call('restart', 'sleeper');
  await until('an event', (topic) => topic === 'process:event');
  console.log('listening');
  await until('the end', (topic) => topic === 'pm2:kill');
});
