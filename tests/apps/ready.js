// Says when it is ready, or never.
const http = require('http');
http.createServer((req, res) => res.end(process.env.VERSION || 'v')).listen(Number(process.env.PORT), () => {
  if (process.env.SAY !== 'never') setTimeout(() => process.send('ready'), Number(process.env.AFTER || 100));
});
