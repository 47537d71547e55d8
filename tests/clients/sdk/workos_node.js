const { WorkOS } = require('@workos-inc/node');
const { serve } = require('./calls');

serve(async ({ hostname, port }, key, name) => {
  const workos = new WorkOS('sk_test_1', { apiHostname: hostname, port: Number(port), https: false });
  const event = {
    action: 'user.signed_in',
    occurredAt: new Date(0),
    actor: { type: 'user', id: 'user_1', name },
    targets: [{ type: 'user', id: 'user_1' }],
    context: { location: '192.0.2.1' },
  };
  // It resolves to nothing.
  await workos.auditLogs.createEvent('org_1', event, key ? { idempotencyKey: key } : {});
});
