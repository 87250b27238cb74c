export const apps = [{ name: 'named', script: 'app.js' }];
