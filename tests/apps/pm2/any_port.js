// Preloaded: whatever port a program asks for, it gets a free one, and says which.
const { Server } = require('net');
const { listen } = Server.prototype;
Server.prototype.listen = function (port, ...rest) {
  if (typeof port !== 'number') return listen.call(this, port, ...rest);
  this.once('listening', () => console.log(`port ${this.address().port}`));
  return listen.call(this, 0, ...rest);
};
