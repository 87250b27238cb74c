// An app's life through PM2's Node API.
const assert = require('assert');
const { call, run } = require('./client');
const [script] = process.argv.slice(2);

run(async () => {
  await call('connect');
  assert.deepStrictEqual(await call('list'), []);

  const started = await call('start', { name: 'one', script, args: ['a', 'b'], env: { COLOUR: 'red' } });
  assert.strictEqual(started.length, 1);
  const [one] = await call('describe', 'one');
  assert.strictEqual(one.name, 'one');
  assert.strictEqual(one.pm2_env.status, 'online');
  assert.strictEqual(one.pm2_env.exec_mode, 'fork_mode');
  assert.strictEqual(one.pm2_env.pm_exec_path, script);
  assert.deepStrictEqual(one.pm2_env.args, ['a', 'b']);
  assert.strictEqual(one.pm2_env.COLOUR, 'red');
  assert.ok(one.pid > 0 && one.monit.memory > 0);

  const [again] = await call('restart', 'one');
  assert.strictEqual(again.status, 'online');
  assert.strictEqual(again.restart_time, 1);
  assert.notStrictEqual((await call('describe', 'one'))[0].pid, one.pid);

  const many = await call('start', { name: 'many', script, exec_mode: 'cluster', instances: 2 });
  assert.strictEqual(many.length, 2);
  const before = (await call('list')).filter((app) => app.name === 'many').map((app) => app.pid);
  assert.strictEqual(before.length, 2);
  await call('reload', 'many', { parallel: 2 });
  const after = (await call('list')).filter((app) => app.name === 'many');
  assert.deepStrictEqual(after.map((app) => app.pm2_env.status), ['online', 'online']);
  assert.ok(after.every((app) => !before.includes(app.pid)), 'each was replaced');

  process.env.COLOUR = 'blue';
  await call('restart', 'one', { updateEnv: true });
  assert.strictEqual((await call('describe', 'one'))[0].pm2_env.COLOUR, 'blue');

  // `start` of what is there restarts it, with what is new.
  await call('start', { name: 'one', script, args: ['c'] });
  const [renewed] = await call('describe', 'one');
  assert.deepStrictEqual([renewed.pm_id, renewed.pm2_env.args, renewed.pm2_env.updateEnv], [0, ['c'], undefined]);

  const [stopped] = await call('stop', 'one');
  assert.strictEqual(stopped.status, 'stopped');
  assert.strictEqual((await call('describe', 'one'))[0].pid, 0);
  await call('restart', 'one');
  assert.strictEqual((await call('describe', 'one'))[0].pm2_env.status, 'online');
  await call('reset', 'one');
  assert.strictEqual((await call('describe', 'one'))[0].pm2_env.restart_time, 0);
  await call('sendSignalToProcessName', 'SIGCONT', 'one');

  await assert.rejects(call('stop', 'nobody'), /not found/);
  await assert.rejects(call('stop', 77), /77 : id unknown/);
  await assert.rejects(call('start', { name: 'lost', script: script + '.missing' }));
  await call('reloadLogs');

  await call('delete', 'many');
  assert.deepStrictEqual((await call('list')).map((app) => app.name), ['one']);
  await call('delete', 'all');
  assert.deepStrictEqual(await call('list'), []);
});
