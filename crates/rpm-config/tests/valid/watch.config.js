module.exports = { apps: [
  { name: 'here', script: 'app.js', watch: true, ignore_watch: ['logs', '*.log', /\.tmp$/i], watch_delay: '1s', cron: '*/5 * * * * *' },
  { name: 'there', script: 'app.js', watch: ['src', 'conf/*.json'], ext: 'js,.json',
    watch_options: { followSymlinks: false, usePolling: true, depth: 3, ignored: ['x'] } },
  { name: 'off', script: 'app.js', watch: false, ignore_watch: 'logs', cron_restart: 0 },
] };
