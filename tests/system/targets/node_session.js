// Sessions in memory behind a store that answers later, as express-session's does: load, change, save, answer.
'use strict';
const http = require('http');
const { setTimeout: pause } = require('timers/promises');

const store = {};
http.createServer(async (request, response) => {
  const id = request.url.slice(1);
  const session = { items: [...(store[id]?.items ?? [])] };
  if (request.method === 'POST') {
    await pause(session.items.length % 3);
    session.items.push(session.items.length + 1);
    store[id] = session;
  }
  response.end(JSON.stringify(session.items));
}).listen(Number(process.argv[2]), '127.0.0.1');
