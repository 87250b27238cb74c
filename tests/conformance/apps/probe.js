// Writes down what it is given, then every signal and message, as JSON lines in `seen.NAME.INSTANCE`.
const fs = require('fs');
const path = require('path');
const file = path.join(__dirname, `seen.${process.env.name}.${process.env.NODE_APP_INSTANCE || 0}`);
const write = (line) => fs.appendFileSync(file, JSON.stringify(line) + '\n');
write({
  args: process.argv.slice(2), execArgv: process.execArgv, cwd: process.cwd(), main: require.main === module,
  connected: !!process.send, env: process.env,
});
process.on('message', (message) => {
  write({ message });
  if (message === 'shutdown') process.exit(0);
});
for (const signal of ['SIGTERM', 'SIGUSR2', 'SIGHUP']) process.on(signal, () => write({ signal }));
process.on('SIGINT', () => { write({ signal: 'SIGINT' }); setTimeout(() => process.exit(0), 50); });
setInterval(() => {}, 1e6);
