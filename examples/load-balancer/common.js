// What the files of this directory share: four plain servers on four ports. WEB and BASE move the ports.
const web = Number(process.env.WEB || 8080);
const base = Number(process.env.BASE || 3000);

exports.listen = `127.0.0.1:${web}`;
exports.address = (index) => `localhost:${base + index}`;
exports.apps = [{
  name: 'node', script: './app.js', exec_mode: 'fork', instances: 4, cwd: __dirname,
  env: { PORT: base }, increment_var: 'PORT',
}];
