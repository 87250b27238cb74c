// A gRPC service without a schema: messages are bytes. Shared by server and client.
const path = require('path');
const grpc = require(path.join(process.env.RPM_TEST_DEPS, 'grpc/node_modules/@grpc/grpc-js'));
const same = (message) => message;
const method = (name, requestStream, responseStream) => ({
  path: `/test.Echo/${name}`, requestStream, responseStream,
  requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same,
});
module.exports = {
  grpc,
  service: {
    say: method('Say', false, false),
    count: method('Count', false, true),
    chat: method('Chat', true, true),
    fail: method('Fail', false, false),
    wait: method('Wait', false, false),
  },
};
