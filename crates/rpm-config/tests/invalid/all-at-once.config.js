module.exports = {
  apps: [
    { name: 'api', script: 'app.js', instances: 'lots', cron_restart: 'never', exec_mod: 'cluster' },
    { name: 'job', script: 'job.py', exec_mode: 'clutser' },
  ],
};
