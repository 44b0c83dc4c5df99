/** nginx as a user would run it: one worker, files from disk, WebDAV PUT. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const NGINX = '/usr/sbin/nginx'

function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

/** Undefined when nginx is not installed; says so. */
export async function startNginx(directory) {
  if (!existsSync(NGINX)) {
    console.log('nginx is not installed: not compared')
    return undefined
  }
  const root = join(directory, 'root')
  await mkdir(root, { recursive: true })
  for (const path of [directory, root]) await chmod(path, 0o777)
  const port = await freePort()
  const config = join(directory, 'nginx.conf')
  await writeFile(config, configuration(directory, root, port))
  const child = spawn(NGINX, ['-c', config, '-e', join(directory, 'error.log')], {
    stdio: 'inherit',
  })
  const url = `http://127.0.0.1:${port}`
  for (let tried = 0; tried < 100; tried++) {
    if (await fetch(url).catch(() => undefined)) break
    await sleep(50)
  }
  const ended = new Promise((resolve) => child.once('exit', resolve))
  return {
    pid: child.pid,
    url,
    root,
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM')
      await ended
    },
  }
}

// One process, so that its CPU is that of its pid, and it competes for cores as ours does.
function configuration(directory, root, port) {
  return `
daemon off;
master_process off;
pid ${directory}/nginx.pid;
events { worker_connections 1024; }
http {
  access_log off;
  sendfile on;
  keepalive_requests 1000000;
  open_file_cache off;
  client_body_temp_path ${directory}/body;
  server {
    listen 127.0.0.1:${port};
    root ${root};
    location / { dav_methods PUT DELETE; create_full_put_path on; }
  }
}
`
}
