module.exports = () => Promise.resolve([{ name: 'function', script: 'app.js' }]);
