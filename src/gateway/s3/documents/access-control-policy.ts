import {
  type AccessControlList,
  type Grant,
  type Grantee,
  type GranteeGroup,
  type Owner,
  PERMISSIONS,
} from '../bucket-settings.ts'
import { GRANTS_MAX, GROUP_URIS, groupOfUri } from '../grantee-groups.ts'
import { invalidArgument } from '../invalid-argument.ts'
import { isS3Error, S3Error } from '../s3-error.ts'
import { malformed, parseXml, type XmlElement } from '../xml/xml-reader.ts'
import { textElement, xmlDocument } from '../xml/xml-writer.ts'
import { ownerElement } from './owner-element.ts'

const XSI = 'http://www.w3.org/2001/XMLSchema-instance'

/**
 * Names as they were sent: who they are, and whether there is such a user, is the caller's to find.
 * Names that are left out are empty.
 *
 * @throws {S3Error} MalformedACLError: whatever is wrong with the document. InvalidArgument: an
 * empty id, or a group that is none.
 */
export function readAccessControlPolicy(body: Uint8Array): AccessControlList {
  try {
    const root = parseXml(body, 'AccessControlPolicy')
    root.only('Owner', 'AccessControlList')
    const owner = readOwner(root.requiredChild('Owner'))
    const list = root.requiredChild('AccessControlList')
    list.only('Grant')
    if (list.elements.length > GRANTS_MAX) throw malformed(`more than ${GRANTS_MAX} grants`)
    return { owner, grants: list.elements.map(readGrant) }
  } catch (cause) {
    if (!isS3Error(cause, 'MalformedXML')) throw cause
    throw new S3Error('MalformedACLError', cause.message, { cause })
  }
}

function readOwner(element: XmlElement): Owner {
  element.only('ID', 'DisplayName')
  return { id: readId(element), displayName: element.text('DisplayName') ?? '' }
}

function readGrant(element: XmlElement): Grant {
  element.only('Grantee', 'Permission')
  const grantee = readGrantee(element.requiredChild('Grantee'))
  return { grantee, permission: element.requiredChoice('Permission', PERMISSIONS) }
}

/** By `xsi:type`, whose value is a qualified name: some clients give it a prefix. */
function readGrantee(element: XmlElement): Grantee {
  const type = element.attribute(XSI, 'type')
  switch (type?.slice(type.indexOf(':') + 1)) {
    case 'CanonicalUser': {
      element.only('ID', 'DisplayName')
      const displayName = element.text('DisplayName') ?? ''
      return { kind: 'user', id: readId(element), displayName }
    }
    case 'AmazonCustomerByEmail':
      element.only('EmailAddress', 'DisplayName')
      return { kind: 'email', email: element.requiredText('EmailAddress').trim() }
    case 'Group':
      element.only('URI', 'DisplayName')
      return { kind: 'group', group: readGroup(element) }
    default:
      throw malformed('the xsi:type of a Grantee is missing or not known')
  }
}

function readId(element: XmlElement): string {
  const id = element.requiredText('ID').trim()
  if (id === '') throw invalidArgument('Invalid id', 'CanonicalUser/ID', id)
  return id
}

function readGroup(element: XmlElement): GranteeGroup {
  const uri = element.requiredText('URI').trim()
  const group = groupOfUri(uri)
  if (group === undefined) throw invalidArgument('Invalid group uri', 'Group/URI', uri)
  return group
}

export function writeAccessControlPolicy(list: AccessControlList): string {
  const grants = list.grants.map(writeGrant).join('')
  const content = `${ownerElement(list.owner)}<AccessControlList>${grants}</AccessControlList>`
  return xmlDocument('AccessControlPolicy', content)
}

function writeGrant(grant: Grant): string {
  const permission = textElement('Permission', grant.permission)
  return `<Grant>${writeGrantee(grant.grantee)}${permission}</Grant>`
}

function writeGrantee(grantee: Grantee): string {
  switch (grantee.kind) {
    case 'user': {
      const name = textElement('DisplayName', grantee.displayName)
      return granteeElement('CanonicalUser', `${textElement('ID', grantee.id)}${name}`)
    }
    case 'email':
      return granteeElement('AmazonCustomerByEmail', textElement('EmailAddress', grantee.email))
    case 'group':
      return granteeElement('Group', textElement('URI', GROUP_URIS[grantee.group]))
  }
}

function granteeElement(type: string, content: string): string {
  return `<Grantee xmlns:xsi="${XSI}" xsi:type="${type}">${content}</Grantee>`
}
