import type { Coordinator } from '../metadata/coordinator.ts'
import type { MetadataStore } from '../metadata/metadata-store.ts'
import type { Clock } from '../runtime/clock.ts'
import type { DisposeStack } from '../runtime/dispose-stack.ts'
import type { Logger } from '../runtime/logger.ts'
import { BrokenLinks } from './broken-links.ts'
import { ClusterState } from './cluster-state.ts'
import { Collections } from './collections.ts'
import { DirtyNeedles } from './dirty-needles.ts'
import { KnownNodes } from './known-nodes.ts'
import { LocationsFeed } from './locations-feed.ts'
import { NodeStandings, type StandingOptions } from './node-standings.ts'
import { ClusterTopology } from './topology.ts'
import { VolumePlaces } from './volume-places.ts'
import { VolumeSets } from './volume-sets.ts'
import { WarmUp } from './warm-up.ts'

export interface ClusterParts {
  readonly store: MetadataStore
  readonly coordinator: Pick<Coordinator, 'clusterId'>
  readonly clock: Clock
  readonly logger: Logger
}

export interface ClusterOptions {
  readonly heartbeatMs: number
  readonly forgetNodeMs: number
  readonly warmUpMaxMs: number
  readonly volumeSizeMaxBytes: number
  readonly repair: StandingOptions
}

/** What the master knows: of servers, volumes and collections. Everything else decides upon it. */
export interface Cluster {
  readonly known: KnownNodes
  readonly standings: NodeStandings
  readonly links: BrokenLinks
  readonly dirty: DirtyNeedles
  readonly collections: Collections
  readonly sets: VolumeSets
  readonly feed: LocationsFeed
  readonly state: ClusterState
  readonly places: VolumePlaces
  readonly warmUp: WarmUp
}

/**
 * Reads what is kept durably. `opening` takes over what is to be closed.
 *
 * @throws {StoreError} METADATA_CORRUPT; the errors of the store.
 */
export async function openCluster(
  parts: ClusterParts,
  options: ClusterOptions,
  life: { readonly opening: DisposeStack; readonly closing: AbortSignal },
  signal: AbortSignal,
): Promise<Cluster> {
  const { store, coordinator, clock, logger } = parts
  const known = await KnownNodes.open(parts, { forgetMs: options.forgetNodeMs }, signal)
  const standings = await NodeStandings.open({ store, clock }, options.repair, signal)
  const warmUpOptions = { knownUrls: known.urls, maxMs: options.warmUpMaxMs }
  const warmUp = life.opening.use(new WarmUp(parts, warmUpOptions))
  const links = new BrokenLinks(clock)
  const topology = new ClusterTopology({ clusterId: coordinator.clusterId })
  const feed = new LocationsFeed(life.closing)
  // These two ask others that are made after them, and only once all are there.
  let sets: VolumeSets | undefined
  let state: ClusterState | undefined
  const isDeleted = (id: Parameters<VolumeSets['isDeleted']>[0]) => sets?.isDeleted(id) === true
  const dirty = await DirtyNeedles.open({ store, clock, links, isDeleted }, signal)
  const onPolicyChanged = (collection: string) => state?.onPolicyChanged(collection)
  const collections = await Collections.open({ store, clock, onPolicyChanged }, signal)
  const shared = { store, clock, logger, topology, known, standings, warmUp, dirty }
  sets = await VolumeSets.open({ ...shared, policies: collections }, options, signal)
  life.opening.use(sets)
  // A crash may have come between a volume's end and that of its records.
  for (const id of [...dirty.volumeIds]) if (isDeleted(id)) await dirty.forgetVolume(id, signal)
  state = new ClusterState({ feed, topology, sets, standings, links, dirty }, options)
  const places = new VolumePlaces({ state, collections })
  feed.attach(places)
  void warmUp.over.then(() => state.adoptPending())
  return { known, standings, links, dirty, collections, sets, feed, state, places, warmUp }
}
