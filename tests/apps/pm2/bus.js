// What the bus says, and what apps are told.
const assert = require('assert');
const { call, listen, run } = require('./client');
const [script, crashing, throwing] = process.argv.slice(2);

run(async () => {
  await call('connect');
  const { until, heard } = await listen();
  const event = (name, app) => until(`${name} of ${app}`, (topic, data) => topic === 'process:event' && data.event === name && data.process.name === app);

  await call('start', { name: 'talks', script });
  const online = await event('online', 'talks');
  assert.strictEqual(online.manually, false);
  assert.strictEqual(online.process.pm_id, 0);
  assert.ok(online.at > 1e12);
  assert.strictEqual((await event('start', 'talks')).manually, true);

  const out = await until('its output', (topic, data) => topic === 'log:out' && data.data.includes('to stdout'));
  assert.deepStrictEqual(out.process, { pm_id: 0, name: 'talks', rev: null, namespace: 'default' });
  await until('its errors', (topic, data) => topic === 'log:err' && data.data.includes('to stderr'));
  const typed = await until('its message', (topic, data) => topic === 'process:msg' && data.data);
  assert.deepStrictEqual(typed.data, { hello: 1 });
  const raw = await until('its untyped message', (topic, data) => topic === 'process:msg' && data.raw);
  assert.deepStrictEqual(raw.raw, { plain: true });
  const own = await until('a topic of its own', (topic) => topic === 'my:topic');
  assert.deepStrictEqual(own.data, [1, 2]);

  const sent = await call('sendDataToProcessId', 0, { type: 'process:msg', topic: 'greet', data: { to: 'you' } });
  assert.strictEqual(sent.success, true);
  const echo = await until('the echo', (topic, data) => topic === 'process:msg' && data.data && data.data.echo);
  assert.deepStrictEqual(echo.data.echo, { type: 'process:msg', topic: 'greet', data: { to: 'you' }, id: 0 });
  await assert.rejects(call('sendDataToProcessId', 9, { topic: 't', data: {} }), /Process with ID <9> unknown/);

  const [answer] = await call('trigger', 'talks', 'double', '21');
  assert.deepStrictEqual(answer.data.return, { doubled: 42 });
  await call('sendLineToStdin', 0, 'by hand');
  await until('what it read', (topic, data) => topic === 'log:out' && data.data.includes('read by hand'));

  await call('restart', 'talks');
  await event('exit', 'talks');
  assert.strictEqual((await event('restart', 'talks')).manually, true);
  await call('stop', 'talks');
  assert.strictEqual((await event('stop', 'talks')).process.status, 'stopped');
  await call('delete', 'talks');
  assert.strictEqual((await event('delete', 'talks')).process.pm_id, 0);

  const [crashes] = await call('start', { name: 'crashes', script: crashing, max_restarts: 2 });
  assert.strictEqual(crashes.name, 'crashes');
  await event('exit', 'crashes');
  const once = (name, app) => heard.filter(({ topic, data }) => topic === 'process:event' && data.event === name && data.process.name === app);
  assert.strictEqual(once('delete', 'talks').length, 1);
  await call('start', { name: 'throws', script: throwing, autorestart: false });
  const thrown = await until('an exception', (topic) => topic === 'process:exception');
  assert.strictEqual(thrown.process.name, 'throws');
  assert.strictEqual(thrown.data.message, 'thrown by hand');
  assert.match(thrown.data.stack, /^TypeError: thrown by hand\n    at .*throws\.js:1:26/);
  assert.strictEqual(thrown.data.callsite, `${throwing}:1`);
  assert.match(thrown.data.context, /throw new TypeError/);
  await call('delete', 'all');

  await call('killDaemon');
  await until('the end', (topic) => topic === 'pm2:kill');
});
