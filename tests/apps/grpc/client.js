// client.js ADDRESS all | loop: every kind of call once, or calls until stdin ends; prints what came as JSON.
const { grpc, service } = require('./service');
const Client = grpc.makeGenericClientConstructor(service, 'test.Echo');
const client = new Client(process.argv[2], grpc.credentials.createInsecure());
const say = () => new Promise((resolve) => {
  const call = client.say(Buffer.from('hello'), (error, message) => { call.failed = error; call.said = message; });
  call.on('status', (status) => resolve({
    code: status.code, details: status.details, said: String(call.said), pid: String(status.metadata.get('x-pid')),
  }));
});
const all = async () => {
  const came = { say: await say() };
  came.count = await new Promise((resolve, reject) => {
    let seen = 0;
    client.count(Buffer.from('')).on('data', (message) => { if (Number(message) === seen) seen++; })
      .on('end', () => resolve(seen)).on('error', reject);
  });
  came.chat = await new Promise((resolve, reject) => {
    const call = client.chat();
    const said = [];
    call.on('data', (message) => {
      said.push(String(message));
      // Only after the answer to the one before: nothing is held back on the way.
      if (said.length < 5) call.write(Buffer.from(`message ${said.length}`)); else call.end();
    }).on('end', () => resolve(said)).on('error', reject);
    call.write(Buffer.from('message 0'));
  });
  came.fail = await new Promise((resolve) => client.fail(Buffer.from(''), (error) => resolve([error.code, error.details])));
  came.wait = await new Promise((resolve) => client.wait(Buffer.from(''), { deadline: Date.now() + 300 }, (error) => resolve(error.code)));
  return came;
};
const loop = async () => {
  let go = true;
  process.stdin.on('end', () => { go = false; }).resume();
  const came = { answered: 0, failed: [], pids: new Set() };
  while (go) {
    const { code, details, said, pid } = await say();
    if (code === 0 && said === 'hello') { came.answered++; came.pids.add(pid); } else came.failed.push([code, details]);
  }
  return { ...came, pids: came.pids.size };
};
(process.argv[3] === 'all' ? all() : loop()).then((came) => { console.log(JSON.stringify(came)); client.close(); });
