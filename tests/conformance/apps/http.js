// Listens on PORT.
const http = require('http');
http.createServer((_, answer) => answer.end(process.env.NODE_APP_INSTANCE)).listen(Number(process.env.PORT));
