console.log('{"apps": []}');
console.error('noise');
process.stdout.write('more noise without an end');
setInterval(() => {}, 1000);
module.exports = {
  apps: [{ name: 'chatty', script: 'app.js', ignore_watch: [/node_modules/], post_update: undefined, env: { DIR: require('path').basename(process.cwd()) } }],
};
