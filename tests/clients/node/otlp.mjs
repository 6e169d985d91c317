// OpenTelemetry's SDK: a batch processor, and the exporters for HTTP and gRPC.
import { ROOT_CONTEXT, trace } from '@opentelemetry/api'
import { SeverityNumber } from '@opentelemetry/api-logs'
import { resourceFromAttributes } from '@opentelemetry/resources'
import { BatchLogRecordProcessor, LoggerProvider } from '@opentelemetry/sdk-logs'
import { SPAN_ID, STACK_TRACE, TRACE_ID } from './plan.mjs'

export async function httpJson (plan) {
  const { OTLPLogExporter } = await import('@opentelemetry/exporter-logs-otlp-http')
  const compression = plan.client.endsWith('gzip') ? 'gzip' : 'none'
  await send(plan, new OTLPLogExporter({ url: `${plan.url}/v1/logs`, compression }))
}

export async function httpProtobuf (plan) {
  const { OTLPLogExporter } = await import('@opentelemetry/exporter-logs-otlp-proto')
  await send(plan, new OTLPLogExporter({ url: `${plan.url}/v1/logs` }))
}

export async function grpc (plan) {
  const { OTLPLogExporter } = await import('@opentelemetry/exporter-logs-otlp-grpc')
  await send(plan, new OTLPLogExporter({ url: plan.url }))
}

// Counts the records of batches that the exporter reports as delivered.
async function send (plan, exporter) {
  let delivered = 0
  const exportBatch = exporter.export.bind(exporter)
  exporter.export = (batch, callback) => exportBatch(batch, result => {
    if (result.code === 0) delivered += batch.length
    else plan.failed(result.error)
    callback(result)
  })
  const provider = new LoggerProvider({
    resource: resourceFromAttributes({ 'service.name': plan.source }),
    processors: [new BatchLogRecordProcessor({ exporter, scheduledDelayMillis: 500 })]
  })
  const logger = provider.getLogger('clients')
  const context = trace.setSpanContext(ROOT_CONTEXT, { traceId: TRACE_ID, spanId: SPAN_ID, traceFlags: 1 })
  for await (const event of plan.events()) {
    logger.emit({
      severityNumber: SeverityNumber[event.level],
      severityText: event.level,
      body: event.text,
      timestamp: event.milliseconds,
      attributes: { order: event.number, ...(event.last && { 'exception.stacktrace': STACK_TRACE }) },
      context
    })
  }
  await provider.forceFlush().catch(error => plan.failed(error))
  await provider.shutdown().catch(error => plan.failed(error))
  plan.report(delivered)
}
