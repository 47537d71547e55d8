// Reads one call a line, makes them all at once, and prints what the client said of each, one line a call.

const readline = require('node:readline');

// `make(url, key, name, retries)` makes a call: `key` is null where the client is to find one. It resolves to the id, or rejects.
exports.serve = (make) => {
  readline.createInterface({ input: process.stdin }).on('line', async (line) => {
    const { call, url, key, name, retries } = JSON.parse(line);
    let said;
    try {
      said = { ok: true, id: (await make(new URL(url), key, name, retries)) ?? null };
    } catch (error) {
      const status = error.statusCode ?? error.status ?? error.response?.status ?? error.response?.statusCode ?? null;
      said = { ok: false, error: error.constructor.name, status, text: String(error.message).slice(0, 200) };
    }
    console.log(JSON.stringify({ call, ...said }));
  });
};
