module.exports = { apps: [{ name: 'api', script: 'app.js', exec_mod: 'cluster' }] };
