// Answers on PORT, in HTTP/2 without TLS.
const { grpc, service } = require('./service');
const server = new grpc.Server();
server.addService(service, {
  say: (call, answer) => {
    const trailers = new grpc.Metadata();
    trailers.set('x-pid', String(process.pid));
    answer(null, call.request, trailers);
  },
  count: (call) => {
    for (let number = 0; number < 1000; number++) call.write(Buffer.from(String(number)));
    call.end();
  },
  chat: (call) => {
    call.on('data', (message) => call.write(message));
    call.on('end', () => call.end());
  },
  fail: (call, answer) => answer({ code: grpc.status.NOT_FOUND, details: 'not here' }),
  wait: (call) => call.on('cancelled', () => console.log('cancelled')),
});
server.bindAsync(`127.0.0.1:${process.env.PORT}`, grpc.ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
});
// Calls under way are answered.
process.on('SIGINT', () => server.tryShutdown(() => process.exit(0)));
