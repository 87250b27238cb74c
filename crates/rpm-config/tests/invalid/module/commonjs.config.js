module.exports = { apps: [{ script: 'app.js' }] };
