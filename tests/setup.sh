#!/bin/sh
# Installs what the tests need beyond Rust: Debian packages, and npm packages into the given directory.
# Does nothing when all of it is there.
set -eu
deps=$1

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

missing=
for pair in python3:python3 wrk:wrk caddy:caddy cc:gcc tmux:tmux logrotate:logrotate node:nodejs npm:npm git:git ssh:openssh-client sshd:openssh-server \
    curl:curl h2load:nghttp2-client nginx:nginx haproxy:haproxy redis-server:redis-server openssl:openssl \
    zsh:zsh systemctl:systemd fish:fish promtool:prometheus chromium:chromium; do
    PATH="$PATH:/usr/sbin" command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
# In Debian nginx's streams are a module of their own.
ls /usr/lib/nginx/modules/ngx_stream_module.so >/dev/null 2>&1 || missing="$missing libnginx-mod-stream"
if [ -n "$missing" ]; then
    echo "installing:$missing"
    as_root apt-get update -qq
    # shellcheck disable=SC2086  # a list of words
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
fi

mkdir -p "$deps"
if ! [ -d "$deps/node_modules/express" ] || ! [ -x "$deps/node_modules/.bin/pm2" ]; then
    echo "installing npm packages: express, pm2"
    (cd "$deps" && npm install --silent --no-audit --no-fund --no-save express@5 pm2@7)
fi

# What the examples are written with.
if ! [ -d "$deps/node_modules/connect-redis" ] || ! [ -d "$deps/node_modules/ws" ] || ! [ -d "$deps/node_modules/http-proxy" ]; then
    echo "installing npm packages: express-session, connect-redis, redis, http-proxy, ws"
    (cd "$deps" && npm install --silent --no-audit --no-fund --no-save express@5 pm2@7 \
        express-session@1 connect-redis@8 redis@4 http-proxy@1 ws@8)
fi

# A gRPC client and server, in a directory of its own: an install beside others removes what it was not asked for. So
# does one in a directory without a package.json, below another.
if ! [ -d "$deps/grpc/node_modules/@grpc/grpc-js" ]; then
    echo "installing npm packages: @grpc/grpc-js"
    mkdir -p "$deps/grpc"
    echo '{ "private": true }' >"$deps/grpc/package.json"
    (cd "$deps/grpc" && npm install --silent --no-audit --no-fund --no-save @grpc/grpc-js@1)
fi

# Modules of PM2's world, each with the client it asks for; one of them asks for a version that npm no longer serves.
if ! [ -d "$deps/modules/node_modules/pm2-logrotate" ] || ! [ -d "$deps/modules/node_modules/pm2-prometheus-exporter" ]; then
    echo "installing npm packages: pm2-logrotate, pm2-prometheus-exporter"
    mkdir -p "$deps/modules"
    cat >"$deps/modules/package.json" <<'END'
{
  "private": true,
  "dependencies": { "pm2-logrotate": "3.0.0", "pm2-prometheus-exporter": "0.1.1" },
  "overrides": { "pm2": "7" }
}
END
    (cd "$deps/modules" && npm install --silent --no-audit --no-fund)
fi

# Drives Debian's Chromium; brings no browser of its own.
if ! [ -d "$deps/browser/node_modules/playwright-core" ]; then
    echo "installing npm packages: playwright-core"
    mkdir -p "$deps/browser"
    echo '{ "private": true }' >"$deps/browser/package.json"
    (cd "$deps/browser" && npm install --silent --no-audit --no-fund --no-save playwright-core@1)
fi

# Asks the HTTP API everything that its description allows, and much that it does not. In an environment of its own, which
# Debian makes with a package of its own.
if ! [ -x "$deps/schemathesis/bin/st" ]; then
    echo "installing from PyPI: schemathesis"
    python3 -c 'import ensurepip' 2>/dev/null || as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv
    python3 -m venv "$deps/schemathesis"
    "$deps/schemathesis/bin/pip" install -q 'schemathesis>=4,<5'
fi

# Judges what `rpm schema` prints.
if ! "$deps/schemathesis/bin/python" -c 'import jsonschema' 2>/dev/null; then
    echo "installing from PyPI: jsonschema"
    "$deps/schemathesis/bin/pip" install -q 'jsonschema>=4,<5'
fi
