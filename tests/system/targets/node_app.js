// The pages under Node's http server (see pages.py).
'use strict';
const http = require('http');
const zlib = require('zlib');

const PIECE = 65536;
const PATTERN = Buffer.alloc(PIECE, Buffer.from(Array.from({ length: 256 }, (_, i) => i)));
const NOT_COMPARED = new Set(['via', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'host', 'connection',
  'keep-alive', 'transfer-encoding', 'te', 'upgrade', 'expect', 'proxy-connection']);

function send(response, size) {
  let left = size;
  const more = () => {
    while (left > 0) {
      const piece = PATTERN.subarray(0, Math.min(left, PIECE));
      left -= piece.length;
      if (!response.write(piece)) return response.once('drain', more);
    }
    response.end();
  };
  more();
}

function answer(request, body, response) {
  const [, what, argument] = request.url.split('?')[0].split('/');
  if (what === 'bytes' || what === 'stream') {
    response.setHeader('Content-Type', 'application/octet-stream');
    if (what === 'bytes') response.setHeader('Content-Length', argument);
    return send(response, Number(argument));
  }
  if (what === 'status') {
    response.writeHead(Number(argument), ['ETag', '"abc"', 'X-Page', 'status']);
    return response.end();
  }
  if (what === 'fields') {
    response.writeHead(200, ['Set-Cookie', 'a=1; Path=/', 'X-MiXeD-CaSe', 'One', 'Set-Cookie', 'b=2', 'x-mixed-case',
      '', 'Content-Length', '6']);
    return response.end('fields');
  }
  if (what === 'gzip') {
    const packed = zlib.gzipSync(PATTERN);
    response.writeHead(200, { 'Content-Encoding': 'gzip', 'Content-Length': packed.length });
    return response.end(packed);
  }
  if (what === 'trailers') {
    response.writeHead(200, { Trailer: 'X-Sum' });
    response.write('content');
    response.addTrailers({ 'X-Sum': 'abc' });
    return response.end();
  }
  const fields = [];
  for (let i = 0; i < request.rawHeaders.length; i += 2) {
    if (!NOT_COMPARED.has(request.rawHeaders[i].toLowerCase())) fields.push(request.rawHeaders.slice(i, i + 2));
  }
  const text = JSON.stringify({
    method: request.method, target: request.url, fields, body: body.toString('base64'), trailers: request.rawTrailers,
  });
  response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) });
  return response.end(text);
}

http.createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => answer(request, Buffer.concat(parts), response));
}).listen(Number(process.argv[3]), process.argv[2]);
