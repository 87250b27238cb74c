const port = process.env.PORT ?? 3000;
module.exports = { apps: [{ name: 'api', script: 'app.js', port: prot }] };
