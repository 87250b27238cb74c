// What the tests of PM2's Node API share: the npm package as promises, its bus as something to wait on.
const path = require('path');
const pm2 = require(path.join(process.env.RPM_TEST_DEPS, 'node_modules', 'pm2'));

const call = (method, ...args) =>
  new Promise((resolve, reject) =>
    pm2[method](...args, (error, result) => (error ? reject(error instanceof Error ? error : new Error(JSON.stringify(error))) : resolve(result))));

// Collects what the bus says; `until` waits for something that was said already, or will be.
const listen = () =>
  new Promise((resolve, reject) =>
    pm2.launchBus((error, bus) => {
      if (error) return reject(error);
      const heard = [];
      const waiting = [];
      bus.on('*', (topic, data) => {
        heard.push({ topic, data });
        for (const look of waiting.slice()) look();
      });
      const until = (what, matches) =>
        new Promise((found, missed) => {
          const look = () => {
            const hit = heard.find(({ topic, data }) => matches(topic, data));
            if (!hit) return;
            waiting.splice(waiting.indexOf(look), 1);
            clearTimeout(timer);
            found(hit.data);
          };
          const timer = setTimeout(() => missed(new Error(`waited in vain for ${what}; heard ${JSON.stringify(heard.map(brief))}`)), 20000);
          waiting.push(look);
          look();
        });
      const brief = ({ topic, data }) => [topic, data.event || data.data || data.raw, data.process && data.process.name];
      resolve({ heard, until });
    }));

// Runs a test and leaves with its outcome. Some calls of the package wait for ever when an answer is lost.
const run = (test) => {
  setTimeout(() => { console.error('it has not ended within a minute'); process.exit(1); }, 60000);
  return test().then(
    () => { pm2.disconnect(); process.exit(0); },
    (error) => { console.error(error); process.exit(1); });
};

module.exports = { pm2, call, listen, run };
