// Says something in every way an app can, and answers.
process.on('message', (message) => {
  if (message.topic) process.send({ type: 'process:msg', data: { echo: message } });
  const action = message.msg || message;
  if (action === 'double') {
    process.send({ type: 'axm:reply', data: { return: { doubled: 2 * Number(message.opts) }, action_name: action } });
  }
});
process.stdin.on('data', (data) => console.log(`read ${data}`.trim()));
process.send({ type: 'axm:action', data: { action_name: 'double', action_type: 'custom', arity: 1 } });
process.send({ type: 'axm:action', data: { action_name: 'mute', action_type: 'custom', arity: 0 } });
process.send({ type: 'process:msg', data: { hello: 1 } });
process.send({ plain: true });
process.send({ type: 'my:topic', data: [1, 2] });
console.log('to stdout');
console.error('to stderr');
setInterval(() => {}, 1000);
