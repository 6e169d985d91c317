// The clients of Elasticsearch and OpenSearch, with their helper for bulk requests.
import { KEY, LOGIN, SPAN_ID, STACK_TRACE, TRACE_ID } from './plan.mjs'

export async function elasticsearch (plan) {
  await send(plan, (await import('@elastic/elasticsearch')).Client, KEY && { apiKey: KEY })
}

export async function opensearch (plan) {
  await send(plan, (await import('@opensearch-project/opensearch')).Client, LOGIN)
}

async function send (plan, Client, auth) {
  const client = new Client({ node: plan.url, maxRetries: 3, ...(auth && { auth }) })
  try {
    const result = await client.helpers.bulk({
      datasource: documents(plan),
      onDocument: () => ({ create: { _index: 'logs-clients-default' } }),
      flushInterval: 500,
      retries: 3,
      wait: 1000,
      onDrop: dropped => plan.failed(JSON.stringify(dropped.error ?? dropped.status))
    })
    plan.report(result.successful)
  } catch (error) {
    plan.failed(error)
    plan.report(0)
  }
}

// With the field names of the Elastic Common Schema.
async function * documents (plan) {
  for await (const event of plan.events()) {
    yield {
      '@timestamp': event.rfc3339,
      message: event.text,
      log: { level: event.level.toLowerCase() },
      service: { name: plan.source },
      trace: { id: TRACE_ID },
      span: { id: SPAN_ID },
      order: event.number,
      ...(event.last && { error: { type: 'Failure', stack_trace: STACK_TRACE } })
    }
  }
}
